"""Which provider a name of the settings means, and what it needs."""

import subprocess
import sys

import pytest

from tickstock_pipeline.errors import SettingsError
from tickstock_pipeline.providers.registry import BUILDERS, historical_provider
from tickstock_pipeline.settings import PROVIDERS, Settings


def settings(**values: object) -> Settings:
    return Settings.load(_env_file=None, **values)


@pytest.fixture(autouse=True)
def no_environment(clean_environment: None) -> None:
    pass


def test_every_name_of_the_settings_can_be_built() -> None:
    assert set(BUILDERS) == set(PROVIDERS)


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_provider_goes_by_its_name(name: str) -> None:
    provider = historical_provider(settings(provider=name, polygon_api_key="one", alpha_vantage_api_key="other"))

    assert provider.name == name


@pytest.mark.parametrize(
    ("name", "variable"),
    [("polygon", "TICKSTOCK_POLYGON_API_KEY"), ("alpha_vantage", "TICKSTOCK_ALPHA_VANTAGE_API_KEY")],
)
@pytest.mark.parametrize("key", [None, "", "   "])
def test_a_missing_key_is_named(name: str, variable: str, key: str | None) -> None:
    with pytest.raises(SettingsError, match=variable) as refused:
        historical_provider(settings(provider=f"sample,{name}", **{f"{name}_api_key": key}))

    assert refused.value.advice


@pytest.mark.parametrize("key", ["two words", "tab\tinside", "line\nbreak", "pölygon"])
def test_what_cannot_be_a_key_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(SettingsError, match="TICKSTOCK_POLYGON_API_KEY") as refused:
        historical_provider(settings(provider="polygon", polygon_api_key=key))

    assert key not in str(refused.value)


def test_several_names_are_one_provider_that_falls_back() -> None:
    provider = historical_provider(settings(provider="polygon,sample", polygon_api_key="key"))

    assert provider.name == "polygon"
    # what only the sample has is given by it
    assert provider.catalogue() == ()
    assert provider.concurrency >= 1


def test_clients_are_not_imported_before_they_are_wanted() -> None:
    code = (
        "import sys, tickstock_pipeline.providers.registry;"
        "sys.exit(', '.join({'massive', 'yfinance', 'curl_cffi', 'httpx'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
