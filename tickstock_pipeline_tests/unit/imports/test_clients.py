"""The clients of Redis that the import makes: no part of a password is shown where the URL is malformed."""

from collections.abc import Callable

import pytest
from pydantic import SecretStr

from tickstock_pipeline.errors import RedisUnreachableError
from tickstock_pipeline.imports.intake import listening_client
from tickstock_pipeline.imports.status import redis_client
from tickstock_pipeline.providers.limits import request_budget
from tickstock_pipeline.settings import Settings

MALFORMED = ("redis://:hunter2/x@host:6379/0", "redis://:hunter2#x@host:6379", "redis://[hunter2@host:1")


@pytest.mark.parametrize("url", MALFORMED)
@pytest.mark.parametrize(
    "connect", [redis_client, listening_client, lambda settings: request_budget(settings, "polygon", None, 5, 0)]
)
def test_a_malformed_url_is_not_quoted(url: str, connect: Callable[[Settings], object]) -> None:
    with pytest.raises(RedisUnreachableError, match="malformed") as caught:
        connect(Settings.load(_env_file=None, redis_url=SecretStr(url)))

    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert "TICKSTOCK_REDIS_URL" in caught.value.advice
