"""The parts of --mode=evaluate: batches, what is written of them, results, report, unpacking."""
