"""Prompts and concepts: tokenizer, vocabulary, parser of concepts, spelling."""
