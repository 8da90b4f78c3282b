"""A stand-in for flash_attn, which needs a GPU: what OpenRLHF imports of it at module level, never called here."""
