"""Routers of mixtures are read as each family defines them, in every implementation."""

import mixtures
import pytest
import tiny
import torch

from langneurons.errors import InputError
from langneurons.models import hook_site

IDS = torch.arange(2 * 7).reshape(2, 7) + 5


def routed(model, **options):
    """Layer to (routing weights read at the site, input of the router)."""
    found, inputs, handles = {}, {}, []
    for number, router in mixtures.routers(model).items():
        def keep(_module, args, number=number):
            inputs[number] = args[0].detach().clone()
        handles.append(router.register_forward_pre_hook(keep))
    with torch.no_grad(), hook_site(
        model, "moe.router", lambda layer, x: found.__setitem__(layer, x.clone())
    ):
        model.model(input_ids=IDS, **options)
    for handle in handles:
        handle.remove()
    return {layer: (found[layer], inputs[layer]) for layer in found}


@pytest.mark.parametrize("family", mixtures.FAMILIES)
def test_routing_weights_by_hand(family):
    model = mixtures.lm(family)
    seen = routed(model)
    routers = mixtures.routers(model)
    assert list(seen) == list(routers) == list(model.sites["moe.router"].layers)
    for layer, (weights, hidden) in seen.items():
        assert weights.shape == (2, 7, mixtures.EXPERTS)
        expected = mixtures.weights(family, routers[layer], mixtures.logits(routers[layer], hidden))
        torch.testing.assert_close(
            weights.reshape(-1, mixtures.EXPERTS).double(), expected, rtol=1e-4, atol=1e-5
        )
        assert (expected > 0).sum() > 0
