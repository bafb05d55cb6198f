"""Theory: analytic distributions, diagnostics and claims."""
