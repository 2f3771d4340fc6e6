"""The gateway: the one public door. It talks HTTP to the services and imports none of them.

routes     which path is whose, and which are public     proxy      passes requests on
admission  whom to believe, what can be answered          limits     how often
document   one OpenAPI document of the whole              pages      health, readiness, docs: the gateway's own
headers    which go in, which come out, what every answer carries
"""
