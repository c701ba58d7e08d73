"""Settings: the environment and ``.env``, read once into a frozen, typed object.

Nothing else in the package reads the environment. Processes that we start inherit what they need through
:meth:`Settings.child_environment`, so that each can also be run alone with the same variables set.
"""

from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote

from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tickstock_pipeline.errors import SettingsError

# Dagster writes an event for every step; losing the last few in a power cut costs a re-run, while waiting for the
# disk on each costs a third of a backfill's time. Our own connections keep synchronous_commit on.
_DAGSTER_CONNECTION_OPTIONS = "-csearch_path=dagster -csynchronous_commit=off"

PROVIDERS = ("polygon", "alpha_vantage", "yahoo", "sample")
STAND_INS = ("polygon", "alpha_vantage", "yahoo", "none")
AUTOMATIONS = ("import_jobs", "new_bars", "catch_up", "after_close", "reconciliation", "universe_refresh", "retention")


class Settings(BaseSettings):
    """All settings, with their defaults; ``docs/settings.md`` is the table of them."""

    model_config = SettingsConfigDict(
        env_prefix="TICKSTOCK_",
        env_file=".env",
        env_file_encoding="utf-8",
        # `NAME=` in a copied .env means that nobody has chosen a value.
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        # An override names the field, also where the variable has other names.
        populate_by_name=True,
    )

    home: Path = Field(default=Path(".tickstock"), description="State directory of the embedded services and logs.")
    database_url: SecretStr | None = Field(
        default=None, description="PostgreSQL to use (postgresql://user:password@host:port/db). Unset: an embedded one."
    )
    redis_url: SecretStr | None = Field(
        default=None, description="Redis or Valkey to use (redis://[:password@]host:port/db). Unset: an embedded one."
    )
    dagster_database_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL of Dagster's own storage. Unset: schema `dagster` of TICKSTOCK_DATABASE_URL.",
    )
    postgres_bin: Path | None = Field(
        default=None, description="Folder with `initdb` and `postgres` for the embedded server."
    )
    redis_server: Path | None = Field(
        default=None, description="`redis-server` or `valkey-server` binary for the embedded server."
    )
    web_host: str = Field(default="127.0.0.1", description="Address that Dagster's web UI listens on.")
    web_port: int = Field(default=3000, ge=1, le=65535, description="Port of Dagster's web UI.")
    provider: str = Field(
        default="auto",
        description="Providers of history in the order of fail-over, e.g. `polygon,yahoo`; of `polygon`, "
        "`alpha_vantage`, `yahoo`, `sample`. `auto`: those whose key is set, else `sample`.",
    )
    sample_file: Path | None = Field(
        default=None,
        description="CSV (ticker,date,open,high,low,close,volume) for provider `sample`. Unset: the packaged data.",
    )
    polygon_api_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("TICKSTOCK_POLYGON_API_KEY", "MASSIVE_API_KEY", "POLYGON_API_KEY"),
        description="Key of Polygon/Massive; also read from MASSIVE_API_KEY and POLYGON_API_KEY.",
    )
    polygon_url: str = Field(default="https://api.massive.com", description="Base URL of Polygon/Massive's REST API.")
    polygon_stream_url: str = Field(
        default="wss://socket.massive.com", description="Base URL of Polygon/Massive's WebSocket."
    )
    polygon_calls_per_minute: int = Field(
        default=5, ge=0, description="Requests a minute that the account may make (5 on the free plan); 0: no limit."
    )
    alpha_vantage_api_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices(
            "TICKSTOCK_ALPHA_VANTAGE_API_KEY", "ALPHA_VANTAGE_API_KEY", "ALPHAVANTAGE_API_KEY"
        ),
        description="Key of Alpha Vantage; also read from ALPHA_VANTAGE_API_KEY and ALPHAVANTAGE_API_KEY.",
    )
    alpha_vantage_url: str = Field(default="https://www.alphavantage.co", description="Base URL of Alpha Vantage.")
    alpha_vantage_calls_per_minute: int = Field(
        default=5, ge=0, description="Requests a minute that the account may make; 0: no limit."
    )
    alpha_vantage_calls_per_day: int = Field(
        default=25, ge=0, description="Requests a day that the account may make (25 on the free plan); 0: no limit."
    )
    yahoo_url: str = Field(default="https://query2.finance.yahoo.com", description="Base URL of Yahoo's chart API.")
    yahoo_calls_per_minute: int = Field(
        default=60, ge=0, description="Requests a minute, of our own restraint: Yahoo publishes no limit; 0: no limit."
    )
    request_timeout: float = Field(
        default=30.0, gt=0, le=3600, description="Seconds until a provider's silence counts as a failure."
    )
    live_source: Literal["auto", "polygon", "redis", "database", "none"] = Field(
        default="auto",
        description="Where live bars come from: `polygon`, `redis` (the consumer forwards them), `database` (another "
        "program inserts them) or `none`. `auto`: `polygon` if its key is set, else `none`.",
    )
    live_trades: str | None = Field(
        default=None, description="Symbols whose live minutes are also built from trades, e.g. `AAPL,SPY`; `*`: all."
    )
    live_seconds: bool = Field(
        default=False, description="Build the live minutes of the other symbols also from aggregates of seconds."
    )
    live_quotes: bool = Field(default=False, description="Keep the latest quote of each live symbol in Redis.")
    live_stand_in: str = Field(
        default="yahoo",
        description="Providers that are polled while the live source is down for long, in this order; of `polygon`, "
        "`alpha_vantage`, `yahoo`; or `none`.",
    )
    live_events_kept: int = Field(
        default=100_000,
        ge=1_000,
        description="Pattern events that the stream `pattern_events` keeps for clients that come again.",
    )
    universe_dir: Path | None = Field(
        default=None, description="Folder of universe CSV files. Unset: `universes` in TICKSTOCK_HOME."
    )
    gateway_host: str = Field(default="127.0.0.1", description="Address that the gateway listens on.")
    gateway_port: int = Field(default=8080, ge=1, le=65535, description="Port of the gateway.")
    gateway_token: SecretStr | None = Field(
        default=None,
        validate_default=True,
        description="Token that the gateway's clients must show. Unset: none is asked for, which needs a "
        "TICKSTOCK_GATEWAY_HOST that only this machine reaches.",
    )
    gateway_names: str | None = Field(
        default=None,
        description="Further names by which clients may call the gateway (their header `Host`), e.g. that of a proxy "
        "before it: `ticks.example,10.0.0.5`. On a loopback address local names are known without it; on others any "
        "name will do while it is unset.",
    )
    first_year: int = Field(default=2000, ge=1990, le=2100, description="First year of the partition grid.")
    automations_off: str | None = Field(
        default=None,
        description="Automations that do nothing, e.g. `catch_up,new_bars`; of "
        + ", ".join(f"`{name}`" for name in AUTOMATIONS)
        + ".",
    )
    retention_minutes_years: int = Field(
        default=0, ge=0, le=100, description="Calendar years of minutes to keep, this one included; 0: all of them."
    )
    retention_patterns_days: int = Field(default=0, ge=0, description="Days of detections to keep; 0: all of them.")
    retention_events_days: int = Field(
        default=0,
        ge=0,
        description="Days of the integration log to keep; 0: all of them. The consumer is told of the retraction of a "
        "detection only while the log shows that it was published.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="Log level.")

    @field_validator("database_url", "dagster_database_url")
    @classmethod
    def _is_postgres(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and _scheme(value).partition("+")[0] not in {"postgresql", "postgres"}:
            raise ValueError("must begin with postgresql://")
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and _scheme(value) not in {"redis", "rediss", "unix"}:
            raise ValueError("must begin with redis:// or rediss://")
        return value

    @field_validator("gateway_token")
    @classmethod
    def _guards_what_others_reach(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        host = info.data.get("gateway_host", "localhost")
        if not is_loopback(host) and (value is None or not value.get_secret_value().strip()):
            raise ValueError(
                f"must be set, since other machines may reach the gateway at TICKSTOCK_GATEWAY_HOST={host}; "
                "it would take jobs from anybody"
            )
        return value

    @field_validator("provider")
    @classmethod
    def _are_providers(cls, value: str) -> str:
        names = [name.strip() for name in value.split(",")]
        unknown = [name for name in names if name not in PROVIDERS and value != "auto"]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is none of auto, {', '.join(PROVIDERS)}")
        return ",".join(dict.fromkeys(names))

    @field_validator("live_stand_in")
    @classmethod
    def _are_stand_ins(cls, value: str) -> str:
        names = [name.strip() for name in value.split(",")]
        unknown = [name for name in names if name not in STAND_INS or (name == "none" and len(names) > 1)]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not one of {', '.join(STAND_INS[:-1])}, or none alone")
        return ",".join(dict.fromkeys(names))

    @field_validator("automations_off")
    @classmethod
    def _are_automations(cls, value: str | None) -> str | None:
        names = [name.strip() for name in (value or "").split(",") if name.strip()]
        unknown = [name for name in names if name not in AUTOMATIONS]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is none of {', '.join(AUTOMATIONS)}")
        return ",".join(dict.fromkeys(names)) or None

    @field_validator("polygon_url", "alpha_vantage_url", "yahoo_url", "polygon_stream_url")
    @classmethod
    def _is_base_url(cls, value: str, info: ValidationInfo) -> str:
        scheme, _, rest = value.partition("://")
        schemes = ("ws", "wss") if info.field_name == "polygon_stream_url" else ("http", "https")
        if scheme not in schemes:
            raise ValueError(f"must begin with {schemes[0]}:// or {schemes[1]}://")
        server = rest.partition("/")[0]
        if not server:
            raise ValueError("must name a server")
        # it is named in messages, so it can hold no secret
        if "@" in server:
            raise ValueError("must not hold a user or a password")
        if "?" in rest or "#" in rest:
            raise ValueError("must not hold a query, such as a key; paths are put behind it")
        return value.rstrip("/")

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read the environment; ``overrides`` win over it (the command line's options).

        Raises
        ------
        SettingsError
            Names each variable that cannot be used, and why. Never shows a secret's value.
        """
        try:
            return cls(**overrides)
        except ValidationError as error:
            lines = [
                f"TICKSTOCK_{str(item['loc'][0]).upper()}: {item['msg']}"
                for item in error.errors(include_input=False, include_url=False)
            ]
            raise SettingsError(
                "Unusable settings:\n" + "\n".join(lines),
                advice="Correct them in the environment or in .env; `tickstock doctor` lists all settings.",
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f".env cannot be read: {error}", advice="Make it a readable file in UTF-8.") from None

    @property
    def providers(self) -> tuple[str, ...]:
        """Names of the historical providers, in the order of fail-over; ``auto`` is resolved."""
        if self.provider != "auto":
            return tuple(self.provider.split(","))
        keys = {"polygon": self.polygon_api_key, "alpha_vantage": self.alpha_vantage_api_key}
        return tuple(name for name, key in keys.items() if key is not None) or ("sample",)

    @property
    def live(self) -> str:
        """Name of the live source; ``auto`` is resolved."""
        if self.live_source != "auto":
            return self.live_source
        return "none" if self.polygon_api_key is None else "polygon"

    @property
    def gateway_hosts(self) -> tuple[str, ...]:
        """The names of ``gateway_names``."""
        return tuple(name.strip() for name in (self.gateway_names or "").split(",") if name.strip())

    @property
    def universe_folder(self) -> Path:
        """Where universe files are looked for."""
        return self.universe_dir or self.home / "universes"

    def with_services(self, *, database_url: str, redis_url: str) -> Self:
        """The same settings, pointed at running services."""
        return self.model_copy(update={"database_url": SecretStr(database_url), "redis_url": SecretStr(redis_url)})

    def database_dsn(self) -> str:
        """URL for psycopg2 and libpq: ``postgresql://…``, without an SQLAlchemy driver name.

        Raises
        ------
        SettingsError
            If no database is configured.
        """
        if self.database_url is None:
            raise SettingsError(
                "TICKSTOCK_DATABASE_URL is not set.",
                advice='Start the services with `tickstock up`, then run: eval "$(tickstock env)"',
            )
        return _libpq_url(self.database_url.get_secret_value())

    def redis_dsn(self) -> str:
        """URL for redis-py.

        Raises
        ------
        SettingsError
            If no Redis is configured.
        """
        if self.redis_url is None:
            raise SettingsError(
                "TICKSTOCK_REDIS_URL is not set.",
                advice='Start the services with `tickstock up`, then run: eval "$(tickstock env)"',
            )
        return self.redis_url.get_secret_value()

    def dagster_dsn(self) -> str:
        """SQLAlchemy URL of Dagster's storage; names psycopg2, as SQLAlchemy 2.1 takes a bare scheme for psycopg 3."""
        if self.dagster_database_url is not None:
            url = _libpq_url(self.dagster_database_url.get_secret_value())
        else:
            url = self.database_dsn()
            separator = "&" if "?" in url else "?"
            url = f"{url}{separator}options={quote(_DAGSTER_CONNECTION_OPTIONS)}"
        return url.replace("postgresql://", "postgresql+psycopg2://", 1)

    def service_environment(self) -> dict[str, str]:
        """The variables with which a person's shell or another program reaches the same services.

        Contains the services' passwords, and no provider's key.
        """
        environment = {
            "TICKSTOCK_HOME": str(self.home.absolute()),
            "TICKSTOCK_DATABASE_URL": self.database_dsn(),
            "TICKSTOCK_REDIS_URL": self.redis_dsn(),
            "TICKSTOCK_DAGSTER_DATABASE_URL": self.dagster_dsn(),
            "TICKSTOCK_PROVIDER": self.provider,
            "TICKSTOCK_FIRST_YEAR": str(self.first_year),
            "TICKSTOCK_LOG_LEVEL": self.log_level,
        }
        if self.sample_file is not None:
            environment["TICKSTOCK_SAMPLE_FILE"] = str(self.sample_file.absolute())
        return environment

    def child_environment(self) -> dict[str, str]:
        """Every setting that has a value, as the variables that a process of ours reads.

        Contains secrets: for the environment of a child, never for a log.
        """
        environment = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretStr):
                value = value.get_secret_value()
            elif isinstance(value, Path):
                value = value.absolute()
            if value is not None:
                environment[f"TICKSTOCK_{name.upper()}"] = str(value)
        return environment | self.service_environment()


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine only."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


# Not by urllib: what it says of a malformed URL quotes parts of the password.
def _scheme(url: SecretStr) -> str:
    return url.get_secret_value().partition("://")[0].lower()


def _libpq_url(url: str) -> str:
    return f"postgresql://{url.partition('://')[2]}"
