"""``tickstock gateway``: the process that takes jobs from Redis and over HTTP."""

import sqlalchemy as sa

from tickstock_pipeline.cli.terminal import err
from tickstock_pipeline.gateway.server import serve
from tickstock_pipeline.runtime.attach import attached_settings
from tickstock_pipeline.runtime.ports import http_url, require_free_port
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline.storage.schema import require_head

EXAMPLES = """Examples:

tickstock gateway

TICKSTOCK_GATEWAY_PORT=8081 tickstock gateway
"""


def gateway() -> None:
    """Take import jobs from Redis and over HTTP until Ctrl-C. `tickstock up` runs it beside everything else.

    It listens on TICKSTOCK_GATEWAY_HOST and TICKSTOCK_GATEWAY_PORT.
    """
    settings = attached_settings(Settings.load())
    settings.redis_dsn()  # says what to set
    require_free_port(settings.gateway_host, settings.gateway_port, "the gateway", "TICKSTOCK_GATEWAY_PORT")
    with create_engine(settings.database_dsn(), poolclass=sa.NullPool).connect() as connection:
        require_head(connection)
    err.print(f"Gateway on {http_url(settings.gateway_host, settings.gateway_port)}. Ctrl-C stops it.")
    serve(settings)
