"""What every service stands on; it knows no service and this file imports nothing.

Values     errors  clock  ids  money  exactjson  settings  retry
Messages   messages  broker  brokers/  outbox  inbox  relay  consumer  handling  retries  deadletters/
Work       database  unit  batching  jobs  feed  saga  idempotency
Doors      web  auth  peers  resilience  telemetry
Assembly   manifest  runtime  testing
"""
