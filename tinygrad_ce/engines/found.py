"""JAX, or one line that says how to get it."""

try:
    import jax as jax
    import jax.numpy
    from jax import lax as lax
except ImportError as error:
    raise ImportError(
        'engine="jax" and to_jax() need jax: pip install "tinygrad_ce[jax]"'
    ) from error

jnp = jax.numpy
