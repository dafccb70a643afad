-- Asks for a slot: gives it, puts the call into the queue, or says why not. After slots, windows and counts.
--
-- KEYS 6 begun and 7 held of the scope, 8 begun and 9 held of the tenant, 10 counts and 11 used scopes of the tenant
-- ARGV 6 tenant, 7 "replica.number", 8 scope, 9 slots that the tenant may have, 10 its weight, 11 ms of a lease,
--      12 ms that the call may wait (0: it is refused at once), 13 how many calls may wait, 14 the window in µs,
--      15 calls of the scope in it, 16 calls of the tenant in it (-1: any), 17 how many scopes are told apart,
--      18 for how many ms counts outlive their last use
-- Answers {"granted", ticket}
--         {"waiting", ticket, 1: all slots of the tenant are taken (0: all there are), how many that is, how many wait before}
--         {"busy", the same three}
--         {"rate", 1: of the tenant (0: of the scope), ms until there is room (-1: unknown), 1: never sooner}
--         {"epoch", the epoch} when the caller knows another one: nothing was done

local epoch = open()
if epoch ~= KNOWN_EPOCH then
  close()
  return { 'epoch', epoch }
end

local BEGUN, HELD, TENANT_BEGUN, TENANT_HELD, COUNTS, USED = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local TENANT, PERMIT, SCOPE, LIMIT, WEIGHT = ARGV[6], ARGV[7], ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10])
local LEASE_MS, WAIT_MS, MAX_WAITING = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
local WINDOW_US, CALLS, TENANT_CALLS = tonumber(ARGV[14]), tonumber(ARGV[15]), tonumber(ARGV[16])

local function counted(what) count(COUNTS, USED, SCOPE, what, 1, tonumber(ARGV[17]), tonumber(ARGV[18])) end

local freed = forget_expired()
local mine = lane(TENANT)
local raised = mine.waiting > 0 and LIMIT > mine.limit
mine.limit, mine.weight = LIMIT, WEIGHT
if freed or raised then hand_out() end

local room, wait_ms, never_sooner = has_room(BEGUN, HELD, CALLS, WINDOW_US)
local of_tenant = 0
if room and TENANT_CALLS >= 0 then
  room, wait_ms, never_sooner = has_room(TENANT_BEGUN, TENANT_HELD, TENANT_CALLS, WINDOW_US)
  of_tenant = 1
end
if not room then
  counted('r')
  close()
  return { 'rate', of_tenant, wait_ms, never_sooner }
end

if taken < SLOTS and mine.running < LIMIT then
  local ticket = string.format('%s %016d %s', TENANT, 0, PERMIT)
  lease(ticket, LEASE_MS)
  begin(BEGUN, WINDOW_US)
  if TENANT_CALLS >= 0 then begin(TENANT_BEGUN, WINDOW_US) end
  counted('a')
  close()
  return { 'granted', ticket }
end

-- A queue that is full of one tenant's calls takes another's all the same: the longest gives up its last.
local function has_place_to_wait()
  if queued < MAX_WAITING then return true end
  load_all()
  local longest
  for tenant, one in pairs(lanes) do
    local more = longest and one.waiting - lanes[longest].waiting or one.waiting
    if more > 0 or (longest and more == 0 and tenant < longest) then longest = tenant end
  end
  if not longest or lanes[longest].waiting <= mine.waiting + 1 then return false end
  local last = last_waiting(longest)
  stop_waiting(last)
  tell(last, '-')
  return true
end

local function why()
  if LIMIT < SLOTS and mine.running >= LIMIT then return 1, LIMIT, mine.waiting end
  return 0, SLOTS, queued
end

-- Of a tenant that is stopped nobody waits: that lasts until an operator says otherwise.
if WAIT_MS == 0 or LIMIT == 0 or not has_place_to_wait() then
  counted('c')
  local by_tenant, slots, ahead = why()
  close()
  return { 'busy', by_tenant, slots, ahead }
end

local by_tenant, slots, ahead = why()
local ticket = string.format('%s %016d %s', TENANT, next_turn(), PERMIT)
redis.call('ZADD', QUEUE, 0, ticket)
redis.call('ZADD', WAITING, NOW + SIGN_MS, ticket)
mine.waiting = mine.waiting + 1
-- The place outlives the wait and the claim after it, and is given back before, unless the replica is killed.
local held_ms = WAIT_MS + 2 * SIGN_MS
hold(HELD, ticket, held_ms)
if TENANT_CALLS >= 0 then hold(TENANT_HELD, ticket, held_ms) end
close()
return { 'waiting', ticket, by_tenant, slots, ahead }
