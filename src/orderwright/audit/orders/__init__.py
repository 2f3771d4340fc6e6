"""One order, as every service tells of it, and the laws that hold between what they tell.

dossier   all that is known of an order     reading   gets it from the databases     check   which orders to look at
money     what was taken and given back     goods     what was set aside and left    ends    the saga and its deadlines
telling   who must have heard of what       history   the order and its facts
"""
