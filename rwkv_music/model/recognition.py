"""What a file of weights probably is when it is not an RWKV-7 model, judged by its names."""

import re
from collections.abc import Iterable

_OTHERS = (
    (
        r"lora_A|lora_B|\.bone|\.disha|\.miss",
        "it holds a fine-tuning's additions: merge them into their model with RWKV-PEFT's scripts",
    ),
    (r"time_maa", "it is an RWKV-6 model: only RWKV-7 (x070) is read"),
    (r"time_faaaa", "it is an RWKV-5 model: only RWKV-7 (x070) is read"),
    (
        r"time_decay|time_first|time_mix",
        "it is an RWKV-4 or RWKV-5 model: only RWKV-7 (x070) is read",
    ),
    (r"s_emb|\.enn\.", "it is an RWKV-7a, -7b or -8 model (DeepEmbed): only x070 is read"),
    (
        r"^model\.(layers|embeddings)\.",
        "it has Hugging Face's names: take the .pth that was published beside it",
    ),
    (r"time_state", "a tuned state is merged into it: keep states in files of their own"),
)
"""Signs of other files and what to say of them; the first that is found counts."""


def likely_cause(names: Iterable[str]) -> str:
    """One clause that says what the file probably is and what helps."""
    names = list(names)
    if names and all(name.endswith("time_state") for name in names):
        return "it is a state file: read it with load_state"
    for sign, cause in _OTHERS:
        if any(re.search(sign, name) for name in names):
            return cause
    return "it is damaged, or was not made for RWKV-7 (x070)"
