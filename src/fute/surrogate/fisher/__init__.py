"""The exact diagonal of the empirical Fisher information: the mean of squared *per-example* gradients.

    F_jj = (1/n) sum_i g_i[j]^2,    g_i = d/dtheta log P(y_i given x_i)

(Wang et al., "Towards Unified Task Embeddings Across Multiple Models", Eq. 3). One backward pass serves a whole
batch. Hooks catch the input of each module (a) and the gradient that comes back to its output (b). The gradient of a
weight for example i is the sum over its tokens of b a^T. Tokens are summed *before* squaring, and so are all places
where a tied weight is used. No tensor of examples x parameters ever exists.

Public Fisher code often computes the square of a batch's mean gradient instead (the Task2Vec and the Vu et al.
repositories). It is offered as a `reduction` for comparison only: opposite gradients cancel in it.

`diagonal`     the pass over the batches, its options, and the plain loop that tests compare it with
`hooks`        inputs and backprops of each kind of module
`accumulator`  the squares of one tensor, from all its uses, in full or reduced
`squares`      sums over examples of squared outer-product gradients: on the CPU, and the choice by device
`kernel`       the same on CUDA, a Triton kernel
"""
