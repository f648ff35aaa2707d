"""Where the units of an architecture are: loading models, finding sites, hooking them.

The names are resolved on first use, so that looking at a name or a folder loads no PyTorch.
"""

from typing import TYPE_CHECKING

from langneurons import lazy as _lazy

_HOME = {
    "hook_experts": "langneurons.models.hooks",
    "hook_router": "langneurons.models.hooks",
    "hook_site": "langneurons.models.hooks",
    "read_outputs": "langneurons.models.hooks",
    "LanguageModel": "langneurons.models.language_model",
    "wrap": "langneurons.models.language_model",
    "load": "langneurons.models.loading",
    "SITES": "langneurons.models.site",
    "Site": "langneurons.models.site",
}
__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from langneurons.models.hooks import hook_experts as hook_experts
    from langneurons.models.hooks import hook_router as hook_router
    from langneurons.models.hooks import hook_site as hook_site
    from langneurons.models.hooks import read_outputs as read_outputs
    from langneurons.models.language_model import LanguageModel as LanguageModel
    from langneurons.models.language_model import wrap as wrap
    from langneurons.models.loading import load as load
    from langneurons.models.site import SITES as SITES
    from langneurons.models.site import Site as Site
else:
    __getattr__, __dir__ = _lazy.names(__name__, _HOME)
