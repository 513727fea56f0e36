"""Making Hugging Face models use the shared cache: attention function, rotary facts, loading."""

from hogwild.models.binding import Binding, text_config
from hogwild.models.cache_argument import CacheArgument
from hogwild.models.enable import binding_of, disable, enable
from hogwild.models.forward import packed_forward

__all__ = [
    "Binding",
    "CacheArgument",
    "binding_of",
    "disable",
    "enable",
    "packed_forward",
    "text_config",
]
