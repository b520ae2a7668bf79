"""Image editing with diffusion (SDE) priors in JAX."""
