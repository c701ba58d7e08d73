"""``python -m tickstock_pipeline``: the same as the command ``tickstock``."""

from tickstock_pipeline.cli.app import main

if __name__ == "__main__":
    main()
