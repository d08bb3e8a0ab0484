"""Demo: a page to try the models in a browser, and what stands between it and the server."""
