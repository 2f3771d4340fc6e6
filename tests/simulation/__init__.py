"""The seeded simulation: the real services on real SQL, with time, chance, the network and the outside world in hand.

loop       virtual time, seeded order        faults    what may go wrong, drawn from the seed
trace      the story of a run                disk      databases that fail
broker     an adversarial broker             hosts     processes that die
network    requests that get lost            outside   provider and mail
people     customers                         staff     those who serve them
chaos      faults that come by time          idling    jobs only where there is work
world      all of it, from seed to verdict   stage     what seeds share
laws       what must hold at rest            promises  what clients were told
probes     what was reached                  ablations safeguards taken away
statements those that come again
workers    many seeds on every core
"""
