"""The feed-forward networks that stylize an image in one pass."""

from nst_lightning.networks.any_style import AnyStyleNet
from nst_lightning.networks.network_file import load_network, save_network
from nst_lightning.networks.transformer import TransformerNet

__all__ = ["AnyStyleNet", "TransformerNet", "load_network", "save_network"]
