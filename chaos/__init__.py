"""Real processes killed at random while a market is played, and proof that nothing was lost; no part of the package."""
