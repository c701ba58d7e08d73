"""Arguments that several commands take, checked as they come from the command line."""

import typer

from tickstock_pipeline.market.symbol import normalise_symbol


def given_symbol(text: str) -> str:
    """A symbol as it is stored.

    Raises
    ------
    typer.BadParameter
        If the text is no symbol.
    """
    try:
        return normalise_symbol(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="SYMBOL") from None
