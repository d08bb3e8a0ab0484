"""Bulk: an archive's pipeline over millions of pictures, in processes of one machine or on Ray, into Parquet."""
