"""Client: what client.py runs. A picture is sent (transport), its answer is read (answer) and written (results)."""
