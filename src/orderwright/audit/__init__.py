"""The auditor: reads every service's books beside a running platform and says where they do not agree.

findings   what can be found, what it means, what to do      books      every service's database, read only
checks     a check: what to look at, and how                 auditor    look, wait, look again, report
orders/    the laws of one order, across all services        charges    our books and the provider's
stock      what lies there and the rows that say why         messages   what was not sent, what was given up
products   the catalog's word, and who follows it            watch      the auditor as a job

It is the only part beside the command line that reads several services' tables. It changes nothing.
"""
