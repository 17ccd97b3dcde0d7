"""A second task while the painter learns: to say of each token what is there in the clean picture.

The velocity alone tells the painter late what a word looks like: little of its error lies
in where and what a thing is. Scenes say it outright. So a small head reads the picture's tokens
after the double blocks, at every level of noise, and names what each shows, a thing or the
place, and the colour of that. Where noise hides the picture only the caption can tell, so text encoders and
first blocks learn what words mean. The head is not part of the model: `export` leaves it out.
"""
import torch
import torch.nn.functional as F

from things import NAMES, TINTED

ANSWERS = len(NAMES) + len(TINTED)  # a score for each name, then for each colour
THINGS = 7  # more weight on a token that shows a thing, an eighth of all, than on one of the place


class Head(torch.nn.Module):
    """Reads the tokens that pass a painter's last double block."""

    def __init__(self, painter, width):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.LayerNorm(width), torch.nn.Linear(width, width), torch.nn.GELU())
        self.answers = torch.nn.Linear(width, ANSWERS)
        torch.nn.init.zeros_(self.answers.weight)  # so that at first it does not disturb what the painter knows
        self.tokens = None
        painter.transformer.transformer_blocks[-1].register_forward_hook(self._keep)

    def _keep(self, block, inputs, outputs):
        self.tokens = outputs[1]  # the picture's; the caption's come first

    def loss(self, batch):
        """The cross entropy of names and colours, for the batch just painted."""
        return label_loss(self.answers(self.body(self.tokens)).float(), batch.things, batch.shares, 1 + THINGS * batch.on_things)


def label_loss(scores, things, shares, weights=None):
    """The cross entropy of names and colours.

    From scores (B, N, ANSWERS), what the pictures show, each one's shares (B, N, 3) and, unless all count alike, the
    tokens' weights (B, N).
    """
    names, colours = scores.split([len(NAMES), len(TINTED)], -1)
    entropy = _cross_entropy(names, things.names, shares) + _cross_entropy(colours, things.colours, shares)
    return entropy.mean() if weights is None else (entropy * weights).sum() / weights.sum()


def _cross_entropy(scores, classes, shares):
    """Scores (B, N, C) against the shares (B, N, K) that K classes (B, K) have of each token: (B, N)."""
    wanted = classes[:, None].expand(-1, scores.shape[1], -1)
    return -(F.log_softmax(scores, -1).gather(-1, wanted) * shares).sum(-1)
