-- Asks a job to stop: at once when it does not run, by a mark for the leader when it does. A weaker reason than the
-- one that stands changes nothing.
-- KEYS: job, events, queued, leader
-- ARGV: call, id, reason, leader's generation (0: none), message of a mark, phase it goes to, message when it goes at once
local job, events, queued, leader = unpack(KEYS)
local call, id, reason, generation, marked, to, went = unpack(ARGV)
local strength = {none = 0, resize = 1, preempt = 2, pause = 3, sweep = 4, cancel = 5}

if redis.call('EXISTS', job) == 0 then
  return not_found(id)
end
if called_before(job, call) then
  return done(job)
end
local refusal = fenced(leader, generation)
if refusal then
  return refusal
end
local phase = field(job, 'phase')
if is_final(phase) then
  return ended_already(id, phase)
end
local now = number_text(now_ms())
if phase == 'running' then
  if strength[field(job, 'stop')] < strength[reason] then
    redis.call('HSET', job, 'stop', reason)
    remember_call(job, call)
    append_event(job, events, 'info', 'message', marked, '', now)
  end
  return done(job)
end
if to == 'queued' then
  return refuse('conflict', 'the job does not run (' .. phase .. '), it cannot be stopped to ' .. reason .. ': ' .. id)
end
if phase == to then
  return done(job)
end
if phase == 'validating_files' and to == 'paused' then
  return refuse('conflict', 'a job that is ' .. phase .. ' cannot be ' .. to .. ': ' .. id)
end
if phase == 'queued' then
  dequeue(job, id, queued)
end
redis.call('HSET', job, 'phase', to)
if is_final(to) then
  redis.call('HSET', job, 'stop', reason, 'finished_at_ms', now)
end
remember_call(job, call)
append_event(job, events, 'info', 'message', went, '', now)
return done(job)
