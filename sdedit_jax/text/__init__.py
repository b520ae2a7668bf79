"""Prompts and concepts: tokenizer, vocabulary, parser of concepts, JSON, tables, spelling."""
