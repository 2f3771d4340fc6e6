"""What the notification service can do.

telling    queue what has to be told      posting   resolve, render and send what is queued
"""
