"""What a replica counts and measures, and how it is read. Ids are never labels.

The table says what there is; `Metrics` holds the figures of one replica. A replica whose metrics are off has none of
this: it has `metrics = None`, and prometheus_client is not even imported.
"""
