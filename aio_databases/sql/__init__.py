"""SQL texts and query objects: placeholders, classification, batches."""
