"""A tiny FLUX to train for."""

import pytest


@pytest.fixture(scope="module")
def tiny_flux(tmp_path_factory):
    """A transformer's folder with a shard and a configuration that names both, and diffusers' model of it."""
    from flux_runs import make_tiny_flux  # what needs torch is skipped without it, not broken

    return make_tiny_flux(tmp_path_factory.mktemp("flux"))
