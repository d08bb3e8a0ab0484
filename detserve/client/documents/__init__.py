"""Documents: PDFs, TIFFs and pictures, read page by page and written as text, as XML or as searchable PDF."""

FORMATS = ("json", "txt", "md", "hocr", "alto", "pdf")
"""What a document can be written as."""
PLACED = ("hocr", "alto", "pdf")
"""Those that put each word at its place."""
