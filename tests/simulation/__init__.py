"""The seeded simulation: the real services on real SQL, with time, chance, the network and the outside world in hand.

loop       virtual time, seeded order        faults    what may go wrong, drawn from the seed
trace      the story of a run                disk      databases that fail
broker     an adversarial broker             hosts     processes that die
network    requests that get lost            outside   provider and mail
people     customers and staff               chaos     faults that come by time
world      all of it, from seed to verdict   stage     what seeds share
laws       what must hold at rest            promises  what clients were told
probes     what was reached                  idling    jobs only where there is work
ablations  safeguards taken away             workers   many seeds on every core
"""
