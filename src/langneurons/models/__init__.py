"""Where the units of an architecture are: loading models, finding sites, hooking them."""

from langneurons.models.hooks import hook_site, read_outputs
from langneurons.models.language_model import LanguageModel, wrap
from langneurons.models.loading import load
from langneurons.models.sites import SITES, Site

__all__ = ["SITES", "LanguageModel", "Site", "hook_site", "load", "read_outputs", "wrap"]
