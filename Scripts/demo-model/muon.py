"""Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon), whose steps change a matrix by all its directions alike.

PyTorch has one that multiplies in bfloat16 only: without instructions for that a step took 16 s where training on its batch
takes 4 (two Zen 2 cores, matrices of 9 million numbers). This one multiplies in the format that training does.
"""
import math

import torch

ITERATIONS = 5
A, B, C = 3.4445, -4.7750, 2.0315  # of a X + b X X'X + c X X'X X'X, which brings singular values near 1 in few iterations
MOMENTUM = 0.95
DECAY = 0.01  # of weights, times the learning rate
AS_ADAMW = 0.2  # times the root of the longer side: steps as large as AdamW's are (Liu et al. 2025, arXiv 2502.16982)


class Muon(torch.optim.Optimizer):
    """Muon whose matrices the processes of a team divide among themselves: its step is a fifth of a small batch's time."""

    def __init__(self, matrices, team, format_, lr):
        ordered = sorted(matrices, key=torch.numel)
        self.team, self.format, self.parts = team, format_, [ordered[k::team.count] for k in range(team.count)]
        super().__init__(self.parts[team.rank], dict(lr=lr))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if "past" not in self.state[p]:
                    self.state[p]["past"] = torch.zeros_like(p.grad)
                past = self.state[p]["past"]
                past.lerp_(p.grad, 1 - MOMENTUM)
                direction = orthogonal(p.grad.lerp(past, MOMENTUM), self.format)
                p.mul_(1 - group["lr"] * DECAY)
                p.sub_(direction, alpha=group["lr"] * AS_ADAMW * math.sqrt(max(p.shape)))
        if self.team.count > 1:
            for rank, part in enumerate(self.parts):
                self.team.hand_out(part, rank)


def orthogonal(matrix, format_):
    """The matrix with its singular values brought between 0.7 and 1.2, most of them."""
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if is_tall else matrix).to(format_)
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(ITERATIONS):
        squared = x @ x.T
        x = torch.addmm(x, torch.addmm(squared, squared, squared, beta=B, alpha=C), x, beta=A)
    return (x.T if is_tall else x).to(matrix.dtype)
