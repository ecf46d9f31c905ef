"""What exists only while training: corpora, alignment, batches and the loop."""
