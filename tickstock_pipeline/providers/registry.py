"""Which provider a name of the settings means."""

from collections.abc import Callable, Mapping

from tickstock_pipeline.providers.base import HistoricalProvider
from tickstock_pipeline.providers.sample import SampleProvider
from tickstock_pipeline.settings import Settings

BUILDERS: Mapping[str, Callable[[Settings], HistoricalProvider]] = {
    "sample": lambda settings: SampleProvider(settings.sample_file),
}


def historical_provider(settings: Settings) -> HistoricalProvider:
    """The provider that the settings name; where they name several, one that falls back to the next.

    Raises
    ------
    SettingsError
        If what a provider needs, such as its key, is not set.
    """
    return BUILDERS[settings.providers[0]](settings)
