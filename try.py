import re
from tests.deploy.fleet.namespace import *
from tests.deploy.fleet.fleet import *
from tests.deploy.fleet.haproxy import haproxy
from tests.deploy.fleet import measure
def main():
    add_addresses(BALANCER, *REPLICAS)
    with Fleet(lame_duck_ms=0, is_quick=True) as fleet:
        with haproxy() as balancer:
            counted, counts = measure.disconnects(fleet, balancer, 1500)
            print(counted, counts)
            log = balancer.log()
            conns = [s["connections"] for s in fleet.statistics()]
            print(conns)
    seen=set()
    for code, err in fleet.ends:
        for line in err.decode().splitlines():
            d=json.loads(line)
            if d.get("reason")=="client_disconnected": seen.add(d["request_id"])
    from collections import Counter
    states=Counter(); missing=[]
    for line in log.splitlines():
        m=re.search(r' - - (\S\S)\S\S ', line)
        if m:
            states[m[1]]+=1
            i=re.search(r'\{(.*?)\}', line)
            if m[1]!='--' and (not i or i[1] not in seen): missing.append(line)
    print(states, len(seen)); print("\n".join(missing))
if is_inside(): main()
else: run_inside("try", [])
