"""Messages that could not be handled: kept in the service's own database, tried again, then dead letters for people.

states    what can become of a message            kept      what is kept, and each step that it can make
lines     what waits behind one of its key        attempts  one attempt to handle a kept message
reading   lists, and one message's history        audit     who did what to it
desk      what staff do: look, replay, discard    api       the same over HTTP
"""
