"""Graph attention over typed edges, on torch_geometric. The one file that imports it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import softmax

NEGATIVE_SLOPE = 0.2
"""Of the LeakyReLU over scores, as in GAT (Velickovic et al., 2018)."""

WEIGHT_FLOOR = 1e-3
"""Edge weights are clamped here before the logarithm: a cosine may be zero or negative, a share of attention not."""


class RelationalAttention(MessagePassing):
    """Multi-head attention of each node over its neighbours, where the kind of edge has a say.

    A head scores the edge j -> i as `LeakyReLU(a . [W h_i | W h_j | onehot(relation)])`. Split, the same product is
    `a1 . W h_i + a2 . W h_j + a3[relation]`: two numbers per node and one per relation, so the concatenation, which a
    dense layer lays out as N x N x 2D, is never built, and cost follows the number of edges.

    There are no self loops: a node's own vector reaches the next layer through the caller's residual. A node without
    neighbours receives exactly zero.

    Args:
        in_width: width of the nodes.
        width: width of each head.
        heads: their outputs are laid side by side.
        relations: how many kinds of edge there are.
        dropout: share of attention coefficients dropped in training.
    """

    def __init__(self, in_width: int, width: int, heads: int, relations: int, dropout: float = 0.2) -> None:
        super().__init__(aggr="add", node_dim=0)
        self.width, self.heads, self.dropout = width, heads, dropout
        self.project = nn.Linear(in_width, heads * width, bias=False)
        self.to_target = nn.Parameter(torch.empty(heads, width))
        self.to_source = nn.Parameter(torch.empty(heads, width))
        self.to_relation = nn.Parameter(torch.empty(relations, heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew: Glorot for the projection, and for `a` as the one vector it is before the split."""
        nn.init.xavier_uniform_(self.project.weight)
        fan = 2 * self.width + len(self.to_relation)
        bound = (6 / (fan + 1)) ** 0.5
        for part in (self.to_target, self.to_source, self.to_relation):
            nn.init.uniform_(part, -bound, bound)

    def forward(self, nodes: Tensor, index: Tensor, relation: Tensor, weight: Tensor | None = None) -> Tensor:
        """The messages that nodes receive, heads side by side.

        Args:
            nodes: vectors of all nodes of all graphs.
            index: int64, sources then targets.
            relation: int64, the kind of each edge.
            weight: multiplies the attention of each edge before it is shared out: the logarithm, clamped at
                `WEIGHT_FLOOR`, is added to the score. It therefore moves attention among the neighbours of one node
                and leaves a node with a single neighbour as it was. One changes nothing.

        Shape:
            nodes (nodes, in_width), index (2, edges), relation (edges,), weight (edges,) -> (nodes, heads * width).
        """
        values = self._values(nodes)
        attention = self._shared_out(values, index, relation, weight)
        attention = functional.dropout(attention, self.dropout, self.training)
        received: Tensor = self.propagate(index, values=values, attention=attention, size=(len(nodes), len(nodes)))
        return received.flatten(1)

    def shares(self, nodes: Tensor, index: Tensor, relation: Tensor, weight: Tensor | None = None) -> Tensor:
        """The attention that each edge gets, summing to one over the edges of a target; as in `forward`, undropped.

        Shape:
            as `forward` -> (edges, heads).
        """
        return self._shared_out(self._values(nodes), index, relation, weight)

    def _values(self, nodes: Tensor) -> Tensor:
        projected: Tensor = self.project(nodes)
        return projected.view(-1, self.heads, self.width)

    def _shared_out(self, values: Tensor, index: Tensor, relation: Tensor, weight: Tensor | None) -> Tensor:
        source, target = index
        as_target = (values * self.to_target).sum(-1)
        as_source = (values * self.to_source).sum(-1)
        score = functional.leaky_relu(
            as_target[target] + as_source[source] + self.to_relation[relation], NEGATIVE_SLOPE
        )  # (edges, heads)
        if weight is not None:
            score = score + weight.to(score.dtype).clamp(min=WEIGHT_FLOOR).log()[:, None]
        shared: Tensor = softmax(score, target, num_nodes=len(values))
        return shared

    def message(self, values_j: Tensor, attention: Tensor) -> Tensor:
        """What travels along each edge.

        Shape:
            (edges, heads, width), (edges, heads) -> (edges, heads, width).
        """
        return attention[..., None] * values_j
