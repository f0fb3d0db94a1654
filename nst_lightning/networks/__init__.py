"""The feed-forward networks that paint in one pass."""

from nst_lightning.networks.transformer import TransformerNet
from nst_lightning.networks.weights import load_network, save_network

__all__ = ["TransformerNet", "load_network", "save_network"]
