"""Many runs of `nst fit`: sweeps, batches and videos."""
