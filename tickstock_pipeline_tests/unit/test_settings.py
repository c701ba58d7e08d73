"""Settings: where values come from, which are refused, what is never shown, what children get."""

from pathlib import Path

import psycopg2.extensions
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError
from sqlalchemy.engine import make_url

from tickstock_pipeline.errors import SettingsError
from tickstock_pipeline.settings import Settings

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "settings.md"
SECRET = "s3cr3t"
DATABASE_URL = f"postgresql://somebody:{SECRET}@db.example:5433/stocks"
REDIS_URL = f"redis://:{SECRET}@cache.example:6380/1"

pytestmark = pytest.mark.usefixtures("clean_environment", "empty_folder")


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, so that no developer's ``.env`` is read."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def connected(**overrides: object) -> Settings:
    return Settings.load(database_url=SecretStr(DATABASE_URL), redis_url=SecretStr(REDIS_URL), **overrides)


def test_nothing_needs_to_be_set() -> None:
    settings = Settings.load()

    assert settings.home == Path(".tickstock")
    assert settings.database_url is None
    assert settings.redis_url is None


def test_the_environment_wins_over_the_file_and_an_option_over_both(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (empty_folder / ".env").write_text("TICKSTOCK_WEB_PORT=4001\nTICKSTOCK_FIRST_YEAR=2011\nANOTHER=1\n")
    assert Settings.load().web_port == 4001

    monkeypatch.setenv("TICKSTOCK_WEB_PORT", "4002")
    assert Settings.load().web_port == 4002
    assert Settings.load().first_year == 2011
    assert Settings.load(web_port=4003).web_port == 4003


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_variable_with_an_empty_value_is_not_set(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"TICKSTOCK_{name.upper()}", "")

    assert getattr(Settings.load(), name) == Settings.model_fields[name].default


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("TICKSTOCK_WEB_PORT", "70000", "less than or equal to 65535"),
        ("TICKSTOCK_WEB_PORT", "http", "valid integer"),
        ("TICKSTOCK_DATABASE_URL", "mysql://localhost/stocks", "must begin with postgresql://"),
        ("TICKSTOCK_DAGSTER_DATABASE_URL", "sqlite:///dagster.db", "must begin with postgresql://"),
        ("TICKSTOCK_REDIS_URL", "localhost:6379", "must begin with redis://"),
        ("TICKSTOCK_POLYGON_URL", "https://me:hunter2@proxy.example/", "must not hold a user or a password"),
        ("TICKSTOCK_POLYGON_URL", "https://proxy.example/?apiKey=hunter2", "must not hold a query"),
        ("TICKSTOCK_POLYGON_URL", "https:///v2", "must name a server"),
        ("TICKSTOCK_YAHOO_URL", "wss://proxy.example", "must begin with http:// or https://"),
        ("TICKSTOCK_POLYGON_STREAM_URL", "https://proxy.example", "must begin with ws:// or wss://"),
        ("TICKSTOCK_REQUEST_TIMEOUT", "inf", "less than or equal to 3600"),
        ("TICKSTOCK_REQUEST_TIMEOUT", "nan", "less than or equal to 3600"),
        ("TICKSTOCK_PROVIDER", "nobody", "sample"),
        ("TICKSTOCK_LOG_LEVEL", "loud", "'DEBUG'"),
        ("TICKSTOCK_FIRST_YEAR", "13", "greater than or equal to"),
    ],
)
def test_an_unusable_value_is_named_with_its_reason(
    variable: str, value: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsError) as caught:
        Settings.load()

    assert f"{variable}: " in caught.value.message
    assert reason in caught.value.message
    assert "hunter2" not in str(caught.value)
    assert caught.value.advice


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "ticks.example", "127.0.0.1.example"])  # noqa: S104
def test_a_gateway_that_others_reach_needs_a_token(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKSTOCK_GATEWAY_HOST", host)

    with pytest.raises(SettingsError, match=r"TICKSTOCK_GATEWAY_TOKEN: .*would take jobs from anybody"):
        Settings.load()
    monkeypatch.setenv("TICKSTOCK_GATEWAY_TOKEN", "  ")
    with pytest.raises(SettingsError, match="TICKSTOCK_GATEWAY_TOKEN"):
        Settings.load()
    monkeypatch.setenv("TICKSTOCK_GATEWAY_TOKEN", "long and random")
    assert Settings.load().gateway_host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "[::1]", "localhost", "LocalHost"])
def test_a_gateway_of_this_machine_alone_needs_none(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKSTOCK_GATEWAY_HOST", host)

    assert Settings.load().gateway_token is None


def test_all_unusable_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKSTOCK_WEB_PORT", "0")
    monkeypatch.setenv("TICKSTOCK_LOG_LEVEL", "loud")

    with pytest.raises(SettingsError, match=r"(?s)TICKSTOCK_WEB_PORT.*TICKSTOCK_LOG_LEVEL"):
        Settings.load()


def test_a_file_that_is_not_text_is_refused(empty_folder: Path) -> None:
    (empty_folder / ".env").write_bytes(b"TICKSTOCK_HOME=caf\xe9\n")

    with pytest.raises(SettingsError, match=r"\.env cannot be read"):
        Settings.load()


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings.load().web_port = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", ["database_url", "dagster_database_url", "redis_url"])
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(password=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_no_password_is_ever_shown_or_breaks_anything(name: str, password: str) -> None:
    marked = f"{SECRET}{password}{SECRET}"
    for scheme in ("postgresql", "redis", "http"):
        try:
            shown = repr(Settings.load(**{name: SecretStr(f"{scheme}://user:{marked}@host/0")}))
        except SettingsError as error:
            shown = str(error)
        assert SECRET not in shown


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2", "postgresql+psycopg"])
def test_the_database_dsn_is_libpqs_whatever_driver_the_url_names(scheme: str) -> None:
    settings = Settings.load(database_url=SecretStr(DATABASE_URL.replace("postgresql", scheme, 1)))

    assert settings.database_dsn() == DATABASE_URL


def test_dagster_keeps_its_tables_in_its_own_schema_of_the_same_database() -> None:
    url = make_url(connected().dagster_dsn())

    assert url.drivername == "postgresql+psycopg2"
    assert (url.host, url.database, url.password) == ("db.example", "stocks", SECRET)
    assert "-csearch_path=dagster" in str(url.query["options"])


def test_dagsters_schema_is_added_to_the_parameters_of_a_url() -> None:
    settings = Settings.load(database_url=SecretStr(f"{DATABASE_URL}?sslmode=require"))

    query = make_url(settings.dagster_dsn()).query
    assert query["sslmode"] == "require"
    assert "-csearch_path=dagster" in str(query["options"])


def test_dagsters_database_may_be_another_one() -> None:
    settings = connected(dagster_database_url=SecretStr("postgresql://d@elsewhere/dagster"))

    assert settings.dagster_dsn() == "postgresql+psycopg2://d@elsewhere/dagster"


@pytest.mark.parametrize("dsn", [Settings.database_dsn, Settings.redis_dsn, Settings.dagster_dsn])
def test_a_missing_url_is_an_error_with_advice(dsn: object) -> None:
    assert callable(dsn)
    with pytest.raises(SettingsError, match="is not set") as caught:
        dsn(Settings.load())

    assert "tickstock up" in caught.value.advice


def test_a_child_sees_the_same_services(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    parent = connected(home=Path("state"), sample_file=Path("bars.csv"), first_year=2011, log_level="DEBUG")
    environment = parent.child_environment()

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path / "elsewhere")
    child = Settings.load()

    assert child.home == tmp_path / "state"
    assert child.sample_file == tmp_path / "bars.csv"
    assert child.child_environment() == environment
    assert (child.first_year, child.log_level, child.provider) == (2011, "DEBUG", "auto")


def test_libpq_understands_the_dsn() -> None:
    parsed = psycopg2.extensions.parse_dsn(connected().database_dsn())

    assert parsed == {"user": "somebody", "password": SECRET, "host": "db.example", "port": "5433", "dbname": "stocks"}


def test_every_setting_has_its_row_in_the_documentation() -> None:
    rows = [line for line in DOCUMENTATION.read_text(encoding="utf-8").splitlines() if line.startswith("| `TICK")]

    assert rows == [
        f"| `TICKSTOCK_{name.upper()}` | {'' if row.default is None else f'`{row.default}`'} | {row.description} |"
        for name, row in Settings.model_fields.items()
    ]


def test_an_automation_that_there_is_not_cannot_be_switched_off(clean_environment: None) -> None:
    assert Settings.load(_env_file=None, automations_off="catch_up, new_bars").automations_off == "catch_up,new_bars"
    with pytest.raises(SettingsError, match="'catchup' is none of import_jobs, new_bars"):
        Settings.load(_env_file=None, automations_off="catchup")
