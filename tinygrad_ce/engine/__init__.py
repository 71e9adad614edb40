"""The heart: nodes, rules, the calculus table, the chain rule, Tensor."""
