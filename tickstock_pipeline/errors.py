"""Every exception this package raises on purpose.

Each carries what went wrong and ``advice``: the one thing to do about it, as shown to the person at the terminal.

::

    TickstockError
    ├── SettingsError            an environment variable has a value that cannot be used
    ├── DefinitionError          a row of indicator_definitions or pattern_definitions cannot run
    ├── ProviderError            a market data provider did not give what was asked for
    │   ├── UnknownSymbolError        the provider has no such symbol
    │   ├── ProviderRefusedError      it refuses the key, or the plan lacks what was asked for
    │   │   └── NotInPlanError             the plan lacks the symbol, or a part of the history that was asked for
    │   ├── ProviderUnavailableError  it does not answer, or answers that it cannot
    │   ├── RateLimitedError          its quota is spent, and waiting would take too long
    │   └── ProviderAnswerError       its answer cannot be trusted: cut off, not JSON, endless, not what was asked for
    ├── WaitEndedError           a wait for a provider was ended because nobody wants its answer any more
    ├── UniverseError            a universe file or key cannot be used
    ├── JobError                 an import job cannot be accepted, or does not exist
    ├── SubscriptionError        what a client of the pattern socket asks for cannot be understood or given
    ├── StorageError             PostgreSQL did not do what was asked of it
    │   ├── DatabaseUnreachableError
    │   ├── DatabaseLoginError
    │   ├── SchemaVersionError   the database has another schema version than this code
    │   └── LeaseLostError       another worker has taken over a shard of the live bars
    ├── MessagingError           Redis did not do what was asked of it
    │   ├── RedisUnreachableError
    │   └── RedisLoginError
    └── ServiceError             a process of ours could not be started, or ended by itself
        ├── BinaryNotFoundError
        ├── PortInUseError
        ├── AlreadyRunningError
        ├── DiskFullError
        └── BackfillError        Dagster refuses a backfill, or does not know it

A bar that breaks a rule raises nothing: it is quarantined with its reason (see ``market.bar``).
"""


class TickstockError(Exception):
    """Root of the tree; ``str()`` gives what went wrong and what to do."""

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.message}\n{self.advice}" if self.advice else self.message


class SettingsError(TickstockError):
    """An environment variable, or a line of ``.env``, has a value that cannot be used."""


class DefinitionError(TickstockError):
    """A definition row names an unknown function or gives it wrong parameters."""


class ProviderError(TickstockError):
    """A market data provider did not give what was asked for."""


class UnknownSymbolError(ProviderError):
    """The provider has no such symbol."""


class ProviderRefusedError(ProviderError):
    """The provider refuses the key, or the account's plan does not have what was asked for."""


class NotInPlanError(ProviderRefusedError):
    """The account's plan has other things, but not this symbol, or not all of the dates asked for."""


class ProviderUnavailableError(ProviderError):
    """The provider does not answer, or cannot now; ``retry_after_seconds`` where it said when to ask again."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.retry_after_seconds = retry_after_seconds


class RateLimitedError(ProviderError):
    """The provider's quota is spent; ``retry_after_seconds`` is None where nobody said when to come back."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.retry_after_seconds = retry_after_seconds


class ProviderAnswerError(ProviderError):
    """The provider's answer cannot be trusted: cut off, not JSON, endless, or not what was asked for."""


class WaitEndedError(TickstockError):
    """A wait for a provider was ended early: nobody wants its answer any more. No fault of the provider's."""


class UniverseError(TickstockError):
    """A universe file or key cannot be used."""


class JobError(TickstockError):
    """An import job cannot be accepted, or does not exist."""


class SubscriptionError(TickstockError):
    """What a client of the pattern socket asks for cannot be understood, or is more than it may have."""


class StorageError(TickstockError):
    """PostgreSQL did not do what was asked of it."""


class DatabaseUnreachableError(StorageError):
    """Nothing answers at the database's address."""


class DatabaseLoginError(StorageError):
    """The database server refuses the user, the password or the database name."""


class SchemaVersionError(StorageError):
    """The database's schema is older or newer than this code."""


class LeaseLostError(StorageError):
    """Another worker has taken over a shard of the live bars; what was not committed is its work now."""


class MessagingError(TickstockError):
    """Redis did not do what was asked of it."""


class RedisUnreachableError(MessagingError):
    """Nothing answers at Redis's address."""


class RedisLoginError(MessagingError):
    """Redis refuses the password."""


class ServiceError(TickstockError):
    """A process of ours could not be started, or ended by itself."""


class BinaryNotFoundError(ServiceError):
    """No server binary: not in the environment, not in a wheel, not on the PATH."""


class PortInUseError(ServiceError):
    """Another program listens on a port that we were told to use."""


class AlreadyRunningError(ServiceError):
    """Another instance runs in the same state directory."""


class DiskFullError(ServiceError):
    """Too little free space to run a database."""


class BackfillError(ServiceError):
    """Dagster refuses a backfill, or does not know it."""
