"""Which provider a name of the settings means."""

from collections.abc import Callable, Mapping, Sequence

from pydantic import SecretStr

from tickstock_pipeline.errors import SettingsError
from tickstock_pipeline.providers.base import HistoricalProvider
from tickstock_pipeline.providers.failover import FailoverProvider
from tickstock_pipeline.providers.limits import account_of, request_budget
from tickstock_pipeline.providers.sample import SampleProvider
from tickstock_pipeline.settings import Settings


def historical_provider(settings: Settings) -> HistoricalProvider:
    """The provider that the settings name; where they name several, one that falls back to the next.

    Raises
    ------
    SettingsError
        If what a provider needs, such as its key, is not set.
    """
    return provider_of(settings, settings.providers)


def provider_of(settings: Settings, names: Sequence[str]) -> HistoricalProvider:
    """As :func:`historical_provider`, for providers that are not those of the settings."""
    providers = [BUILDERS[name](settings) for name in names]
    return providers[0] if len(providers) == 1 else FailoverProvider(providers)


def market_question(settings: Settings) -> Callable[[], str] | None:
    """What asks Polygon in which phase the market is; None without a key. See :mod:`providers.polygon_market`."""
    if settings.polygon_api_key is None:
        return None
    from tickstock_pipeline.providers.polygon_market import polygon_market

    key = polygon_key(settings)
    budget = request_budget(settings, "polygon", _account(key), settings.polygon_calls_per_minute, 0)
    return polygon_market(settings.polygon_url, key, budget)


def polygon_key(settings: Settings) -> SecretStr:
    """The key of Polygon/Massive.

    Raises
    ------
    SettingsError
        If it is not set, or cannot be one.
    """
    return _key(settings.polygon_api_key, "polygon", "TICKSTOCK_POLYGON_API_KEY")


# The clients of the others take up to a second to import, so that is left until one is wanted.


def _polygon(settings: Settings) -> HistoricalProvider:
    from tickstock_pipeline.providers.polygon import PolygonProvider

    key = polygon_key(settings)
    return PolygonProvider(
        base_url=settings.polygon_url,
        api_key=key,
        budget=request_budget(settings, "polygon", _account(key), settings.polygon_calls_per_minute, 0),
        timeout=settings.request_timeout,
    )


def _alpha_vantage(settings: Settings) -> HistoricalProvider:
    from tickstock_pipeline.providers.alpha_vantage import AlphaVantageProvider

    key = _key(settings.alpha_vantage_api_key, "alpha_vantage", "TICKSTOCK_ALPHA_VANTAGE_API_KEY")
    return AlphaVantageProvider(
        base_url=settings.alpha_vantage_url,
        api_key=key,
        budget=request_budget(
            settings,
            "alpha_vantage",
            _account(key),
            settings.alpha_vantage_calls_per_minute,
            settings.alpha_vantage_calls_per_day,
        ),
        timeout=settings.request_timeout,
    )


def _yahoo(settings: Settings) -> HistoricalProvider:
    from tickstock_pipeline.providers.yahoo import YahooProvider

    return YahooProvider(
        base_url=settings.yahoo_url,
        budget=request_budget(settings, "yahoo", None, settings.yahoo_calls_per_minute, 0),
        timeout=settings.request_timeout,
    )


BUILDERS: Mapping[str, Callable[[Settings], HistoricalProvider]] = {
    "polygon": _polygon,
    "alpha_vantage": _alpha_vantage,
    "yahoo": _yahoo,
    "sample": lambda settings: SampleProvider(settings.sample_file),
}


def _key(key: SecretStr | None, provider: str, variable: str) -> SecretStr:
    text = "" if key is None else key.get_secret_value().strip()
    if not text:
        raise SettingsError(
            f"{variable} is not set, and provider {provider} needs a key.",
            advice=f"Set it in the environment or in .env, or leave {provider} out of TICKSTOCK_PROVIDER.",
        )
    # whatever refuses such a header later would show it
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise SettingsError(
            f"{variable} cannot be a key: it has blanks or characters that are not ASCII.",
            advice="Copy it again from the provider's page of your account.",
        )
    return SecretStr(text)


def _account(key: SecretStr) -> str:
    return account_of(key.get_secret_value())
