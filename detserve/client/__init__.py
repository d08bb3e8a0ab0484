"""Client: what client.py is a thin front of. Pictures, transport, answer, report: found, sent, read, written."""
