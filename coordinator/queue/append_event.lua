-- Appends an event of the current attempt. One that carries a number of its source is stored once.
-- KEYS: job, events, told
-- ARGV: call, id, attempt, source number (0: none), event, created_at_ms (0: now)
local job, events, told = unpack(KEYS)
local call, id, attempt, source, event, created = unpack(ARGV)

local state = read_state(job)
if not state then
  return not_found(id)
end
if has_call(state, call) then
  return {'ok'}
end
if state.attempt ~= attempt then
  return refuse('conflict', 'event of attempt ' .. attempt .. ', the job is in attempt ' .. state.attempt .. ': ' .. id)
end
if source == '0' then
  remember_call(state, call)
  write_state(job, state)
elseif redis.call('SADD', told, attempt .. ':' .. source) == 0 then
  return {'ok'}
end
add_event(events, event, created == '0' and number_text(now_ms()) or created)
return {'ok'}
