"""The gateway: the one public door. It talks HTTP to the services and imports none of them.

routes     which path is whose, and which are public     proxy      passes requests on
admission  who may pass, and how often                   document   one OpenAPI document of the whole
"""
