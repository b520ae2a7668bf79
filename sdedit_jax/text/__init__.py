"""Prompts and concepts: tokenizer, vocabulary, the parser of concepts, JSON files, spelling."""
