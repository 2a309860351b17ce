"""Long tests of preparation, two cases of which run among the ordinary tests: `python -m scripts.campaigns`."""
