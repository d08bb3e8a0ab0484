"""Demo: a page to try the models in a browser, its files, and what stands between them and the server."""
